/* causalclipseg for C++14 and later: the C functions as classes that free what they hold, with exceptions for failures.
 *
 * Research software; not a medical device. */

#ifndef CAUSALCLIPSEG_HPP
#define CAUSALCLIPSEG_HPP

#include "causalclipseg.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace causalclipseg {

/// A failed call. `what()` says what failed, why, and what to do.
class Error : public std::runtime_error {
public:
    explicit Error(ccs_status status) : std::runtime_error(ccs_last_error()), status_(status) {}
    Error(ccs_status status, const char *message) : std::runtime_error(message), status_(status) {}
    ccs_status status() const noexcept { return status_; }

private:
    ccs_status status_;
};

inline void check(ccs_status status) {
    if (status != CCS_STATUS_OK) {
        throw Error(status);
    }
}

/// Converts a text to a C string, which ends at its first zero byte: a text with more after that is refused.
inline const char *c_string(const std::string &text) {
    if (text.find('\0') != std::string::npos) {
        throw Error(CCS_STATUS_ARGUMENT, "a text contains a zero byte: remove it");
    }
    return text.c_str();
}

/// A struct of the C interface with its size filled in and the rest zero.
template <class T> T sized() {
    T value{};
    value.struct_size = static_cast<std::uint32_t>(sizeof(T));
    return value;
}

/// Owns a handle: moved, never copied.
template <class Handle, ccs_status (*Free)(Handle)> class Owned {
public:
    Owned() = default;
    explicit Owned(Handle handle) noexcept : handle_(handle) {}
    Owned(Owned &&other) noexcept : handle_(std::exchange(other.handle_, Handle{})) {}
    /// Frees the previous handle.
    Owned &operator=(Owned &&other) noexcept {
        const Handle before = std::exchange(handle_, std::exchange(other.handle_, Handle{}));
        Free(before);
        return *this;
    }
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;
    ~Owned() { Free(handle_); }
    Handle get() const noexcept { return handle_; }

private:
    Handle handle_{};
};

/// A frame of pixels that somebody else owns.
inline ccs_frame frame(std::uint32_t format, const void *pixels, std::size_t pixels_bytes, std::uint32_t width,
                       std::uint32_t height, std::size_t stride_bytes = 0) {
    auto value = sized<ccs_frame>();
    value.format = format;
    value.pixels = pixels;
    value.pixels_bytes = pixels_bytes;
    value.width = width;
    value.height = height;
    value.stride_bytes = stride_bytes;
    return value;
}

/// The same frame with a separate chroma plane: 0 for NV12, 0 (blue) and 1 (red) for I420.
inline ccs_frame with_chroma(ccs_frame frame, std::size_t index, const void *bytes, std::size_t size,
                             std::size_t stride_bytes = 0) {
    if (index > 1) {
        throw Error(CCS_STATUS_ARGUMENT, "a chroma plane has the index 0 or 1");
    }
    frame.chroma[index] = bytes;
    frame.chroma_bytes[index] = size;
    frame.chroma_stride_bytes[index] = stride_bytes;
    return frame;
}

/// Passes the library's log to a receiver while this object exists. A process has one log, so create only one of these.
/// The receiver may run on several threads at once; what it throws is swallowed.
class Log {
public:
    /// Level, module and one line of text.
    using Receiver = std::function<void(std::uint32_t, const char *, const char *)>;

    Log(std::uint32_t level, Receiver receive) : receive_(std::move(receive)) {
        check(ccs_set_log(&call, &receive_, level));
    }
    Log(const Log &) = delete;
    Log &operator=(const Log &) = delete;
    ~Log() { ccs_set_log(nullptr, nullptr, CCS_LOG_OFF); }

private:
    static void call(void *user, std::uint32_t level, const char *module, const char *message) noexcept {
        try {
            (*static_cast<Receiver *>(user))(level, module, message);
        } catch (...) {
        }
    }

    Receiver receive_;
};

/// A sentence, encoded by one model.
class Prompt {
public:
    Prompt(ccs_model model, const std::string &text) {
        ccs_prompt handle{};
        check(ccs_prompt_new(model, c_string(text), &handle));
        handle_ = Owned<ccs_prompt, ccs_prompt_free>(handle);
    }
    ccs_prompt get() const noexcept { return handle_.get(); }

private:
    Owned<ccs_prompt, ccs_prompt_free> handle_;
};

/// An opened model; any number of threads may use it.
class Model {
public:
    explicit Model(const std::string &path, const ccs_model_options *options = nullptr) {
        ccs_model handle{};
        check(ccs_model_open(c_string(path), options, &handle));
        handle_ = Owned<ccs_model, ccs_model_free>(handle);
    }
    Model(const void *bytes, std::size_t size, const ccs_model_options *options = nullptr) {
        ccs_model handle{};
        check(ccs_model_open_memory(bytes, size, options, &handle));
        handle_ = Owned<ccs_model, ccs_model_free>(handle);
    }
    Prompt prompt(const std::string &text) const { return Prompt(get(), text); }
    ccs_model_info info() const {
        auto value = sized<ccs_model_info>();
        check(ccs_model_describe(get(), &value));
        return value;
    }
    /// NaN if the bundle has no test.
    float self_test() const {
        float deviation = 0;
        check(ccs_model_self_test(get(), &deviation));
        return deviation;
    }
    ccs_model get() const noexcept { return handle_.get(); }

private:
    Owned<ccs_model, ccs_model_free> handle_;
};

/// A closed boundary.
struct Contour {
    bool hole;
    std::vector<ccs_point> points;
};

/// Runs a model on frames; one for each thread.
class Session {
public:
    explicit Session(const Model &model, const ccs_session_options *options = nullptr) {
        ccs_session handle{};
        check(ccs_session_new(model.get(), options, &handle));
        handle_ = Owned<ccs_session, ccs_session_free>(handle);
    }
    ccs_timing segment(const ccs_frame &frame, const std::vector<const Prompt *> &prompts) {
        std::vector<ccs_prompt> handles;
        for (const Prompt *prompt : prompts) {
            handles.push_back(prompt->get());
        }
        auto timing = sized<ccs_timing>();
        check(ccs_segment(get(), &frame, handles.data(), handles.size(), &timing));
        size_ = static_cast<std::size_t>(frame.width) * frame.height;
        return timing;
    }
    /// Ends another thread's running call of `segment`, which then throws an Error of CCS_STATUS_CANCELLED.
    void cancel() const { check(ccs_session_cancel(get())); }
    /// The frame's height x width, 255 or 0.
    std::vector<std::uint8_t> mask(std::size_t index) const {
        std::vector<std::uint8_t> pixels(size_);
        check(ccs_mask(get(), index, pixels.data(), pixels.size(), 0));
        return pixels;
    }
    /// The frame's height x width, 0 to 1.
    std::vector<float> probability(std::size_t index) const {
        std::vector<float> values(size_);
        check(ccs_probability(get(), index, values.data(), values.size(), 0));
        return values;
    }
    std::vector<float> confounders(std::size_t index) const {
        std::vector<float> values(size_);
        check(ccs_confounders(get(), index, values.data(), values.size(), 0));
        return values;
    }
    std::vector<Contour> contours(std::size_t index) const {
        std::size_t contour_count = 0, point_count = 0;
        const ccs_status asked = ccs_contours(get(), index, nullptr, 0, &contour_count, nullptr, 0, &point_count);
        if (asked != CCS_STATUS_BUFFER_TOO_SMALL) {
            check(asked);
        }
        std::vector<ccs_contour> runs(contour_count);
        std::vector<ccs_point> points(point_count);
        check(ccs_contours(get(), index, runs.data(), runs.size(), &contour_count, points.data(), points.size(),
                           &point_count));
        std::vector<Contour> contours;
        for (const ccs_contour &run : runs) {
            const auto first = points.begin() + static_cast<std::ptrdiff_t>(run.first_point);
            contours.push_back({run.hole != 0, {first, first + static_cast<std::ptrdiff_t>(run.point_count)}});
        }
        return contours;
    }
    ccs_measurements measure(std::size_t index) const {
        auto value = sized<ccs_measurements>();
        check(ccs_measure(get(), index, &value));
        return value;
    }
    /// How far the result can be trusted.
    ccs_quality judge(std::size_t index) const {
        auto value = sized<ccs_quality>();
        check(ccs_judge(get(), index, &value));
        return value;
    }
    ccs_session get() const noexcept { return handle_.get(); }

private:
    Owned<ccs_session, ccs_session_free> handle_;
    std::size_t size_ = 0;
};

/// Segments frames on a thread of its own as they arrive. The receiver runs on that thread; what it throws is swallowed,
/// since nothing may be thrown through the library. A stream that its own receiver destroys or assigns over ends a little later:
/// another thread waits for the receiver to return.
class Stream {
public:
    using Receiver = std::function<void(const ccs_event &)>;

    Stream(const std::vector<const Model *> &models, const std::vector<std::string> &prompts, Receiver receive,
           const ccs_stream_options *options = nullptr)
        : receive_(std::make_unique<Receiver>(std::move(receive))) {
        std::vector<ccs_model> handles;
        for (const Model *model : models) {
            handles.push_back(model->get());
        }
        const auto texts = pointers(prompts);
        ccs_stream handle{};
        check(ccs_stream_open(handles.data(), handles.size(), texts.data(), texts.size(), options, &call,
                              receive_.get(), &handle));
        handle_ = handle;
    }
    Stream(Stream &&other) noexcept
        : receive_(std::move(other.receive_)), handle_(std::exchange(other.handle_, ccs_stream{})) {}
    Stream &operator=(Stream &&other) noexcept {
        if (this != &other) {
            close();
            receive_ = std::move(other.receive_);
            handle_ = std::exchange(other.handle_, ccs_stream{});
        }
        return *this;
    }
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
    ~Stream() { close(); }
    /// One of CCS_SUBMITTED, CCS_SKIPPED, CCS_DROPPED, CCS_FULL.
    std::uint32_t submit(const ccs_frame &frame, std::uint64_t timestamp_us) {
        std::uint32_t submission = 0;
        check(ccs_stream_submit(get(), &frame, timestamp_us, &submission));
        return submission;
    }
    void set_prompts(const std::vector<std::string> &prompts) {
        const auto texts = pointers(prompts);
        check(ccs_stream_set_prompts(get(), texts.data(), texts.size()));
    }
    ccs_statistics statistics() const {
        auto value = sized<ccs_statistics>();
        check(ccs_stream_statistics(get(), &value));
        return value;
    }
    /// Waits until the frames that wait are segmented. The destructor drops them.
    void finish() {
        check(ccs_stream_close(handle_, 1));
        handle_ = ccs_stream{};
    }
    ccs_stream get() const noexcept { return handle_; }

private:
    /// Ends the stream before its receiver is destroyed, which may be running.
    void close() noexcept {
        const ccs_stream handle = std::exchange(handle_, ccs_stream{});
        if (ccs_stream_close(handle, 0) != CCS_STATUS_BUSY) {
            return;
        }
        // This is the receiver itself, which can't wait for its own end.
        Receiver *const receive = receive_.release();
        try {
            std::thread([handle, receive] {
                ccs_stream_close(handle, 0);
                delete receive;
            }).detach();
        } catch (...) {
            // No thread: the stream runs on, with its receiver.
        }
    }
    static void call(void *user, const ccs_event *event) noexcept {
        try {
            (*static_cast<Receiver *>(user))(*event);
        } catch (...) {
        }
    }
    static std::vector<const char *> pointers(const std::vector<std::string> &texts) {
        std::vector<const char *> pointers;
        for (const std::string &text : texts) {
            pointers.push_back(c_string(text));
        }
        return pointers;
    }

    std::unique_ptr<Receiver> receive_;
    ccs_stream handle_{};
};

} // namespace causalclipseg

#endif
